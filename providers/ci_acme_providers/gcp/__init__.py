"""Google Cloud: Cloud DNS, Secret Manager, Certificate Manager."""
