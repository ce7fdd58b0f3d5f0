"""python -m tuner"""

from tuner.commands.cli import main

if __name__ == "__main__":
    main()
