"""The door to OPA: find and run the sidecar, ask it, build and keep bundles."""
