"""The figures of evidence as pictures that a page can hold."""

from dataclasses import dataclass
from io import BytesIO

from analysis.figures import named
from analysis.store.evidence import Evidence
from search_spaces.errors import InputError
from search_spaces.study import Study

# Pixels an inch: a page shows pictures of 9 to 11 inches in 800 to 1,000 pixels.
DPI = 90
TITLES = {
    "a8": "How alike the masks of two pre-trainings are, and how many kernels are pruned whole",
    "fig7": "Where the weights that are left lie, kernel by kernel",
    "fig2": "Loss on attacked images around the trained weights, in two random directions",
    "fig6": "Loss on attacked images in the plane of the training's path",
    "a9": "Loss on clean images in the plane of the training's path",
}
TALL = ("fig7", "fig2", "fig6", "a9")


@dataclass(frozen=True)
class Picture:
    """A figure: its name, what it shows, and the content of a PNG file; tall ones have a row for
    every layer or network."""

    name: str
    title: str
    png: bytes

    @property
    def tall(self) -> bool:
        return self.name in TALL


def of_evidence(gathered: Evidence, study: Study) -> list[Picture]:
    """Those figures of `figures.named.over_evidence` that the evidence has something for."""
    drawn = []
    for name, title in TITLES.items():
        try:
            _, figure = named.over_evidence(name, gathered, study)
        except InputError:
            continue  # This kind of evidence was not gathered.
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=DPI)
        drawn.append(Picture(name, title, picture.getvalue()))
    return drawn
