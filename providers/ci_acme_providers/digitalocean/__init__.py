"""DigitalOcean DNS."""
