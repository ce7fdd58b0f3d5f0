"""The stages of a run: sources on Ray Train, transfers on Ray Tune, evidence, the conclusion.
May use all rooms but search, bench, commands."""
