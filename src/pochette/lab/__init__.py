"""The whole job, reports, experiments."""
