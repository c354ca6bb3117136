class NullJournal:
    def intend(self,*a): pass
    def placed(self,*a): pass
    def released(self,*a): pass
Journal=lambda *a: NullJournal()
