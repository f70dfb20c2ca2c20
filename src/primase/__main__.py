"""`python -m primase`, also under torchrun."""

from primase.cli import main

if __name__ == "__main__":
    main()
