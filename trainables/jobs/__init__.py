"""What a worker is asked for: a theta, a chain of tickets, a transfer, a search trial, and the thin
Ray shells around them (`source_worker`, `transfer_trial`, `search_trial`). May use all above it."""
