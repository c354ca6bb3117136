"""Amazon Web Services: Route 53, Secrets Manager, SSM, ACM, S3."""
