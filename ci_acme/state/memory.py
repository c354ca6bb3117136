class MemoryEngine: pass
