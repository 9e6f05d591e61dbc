"""Training of networks: shared loop pieces, and one module a thing that is trained."""
