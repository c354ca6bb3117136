"""OVHcloud DNS."""
