"""SIGKILL at every awaited step of a run, each followed by one more run: what is there then?"""
