class Accounts:
    def __init__(self, e): self.d={}
    def url(self, d, t):
        import json,os
        try: return json.load(open(".ci-acme/acc.json")).get(d+t)
        except OSError: return None
    def remember(self, d,t,u):
        import json,os
        os.makedirs(".ci-acme",exist_ok=True)
        json.dump({d+t:u}, open(".ci-acme/acc.json","w"))
