"""What a study will take in time and disk: finished work of the same kind, else one timed step of
each kind, times how many are left. May use: cluster, scheduling, storage."""
