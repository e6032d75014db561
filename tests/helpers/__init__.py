"""What several tests use: small networks, data sets and studies, and assertions."""
