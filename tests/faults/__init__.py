"""Every store, every request of a delivering run, every kind of fault: nothing is lost, and no secret is told."""
