"""acme-dns: challenge records at a server that holds nothing else."""
