"""python -m trainables.bench: the bench without Ray."""

from trainables.bench.measure import main

if __name__ == "__main__":
    main()
