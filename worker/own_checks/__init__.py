"""What `doctor` looks at where it runs: a list of checks, each of which asks and judges."""
