"""Every store, every request that a delivering run sends to it, every kind of fault: nothing is lost, nothing is told."""
