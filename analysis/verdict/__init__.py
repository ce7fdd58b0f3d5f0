"""Which levels are double wins: both rules, their statistics, what a verdict lacks, flags. Pure
functions over tables."""
