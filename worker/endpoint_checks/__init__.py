"""What `doctor --endpoint` looks at: a list of checks, each of which asks and judges."""
