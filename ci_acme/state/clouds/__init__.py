"""Object storage as a state engine sees it: whole objects under conditions, on S3, Google Cloud Storage and Azure."""
