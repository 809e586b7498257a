"""The queue on Azure Storage Queues, with its ledger in the archive."""
