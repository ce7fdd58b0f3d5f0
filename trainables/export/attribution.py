"""Whose images a network has learnt from, and on what terms they are given."""

from search_spaces.spec import Dataset

_TERMS = {
    "mnist-mini": "MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0",
    "digits": "Optical Recognition of Handwritten Digits (Alpaydin, Kaynak), UCI, CC BY 4.0, as it "
    "comes with scikit-learn",
    "cifar10": "CIFAR-10 (Krizhevsky 2009), no licence stated",
    "cifar100": "CIFAR-100 (Krizhevsky 2009), no licence stated",
    "svhn": "SVHN (Netzer et al. 2011), for non-commercial use",
    "imagenet": "ImageNet (Russakovsky et al. 2015), for non-commercial research and education",
    "cub200": "CUB-200-2011 (Wah et al. 2011), for non-commercial research and education",
    "visda17": "VisDA-2017 (Peng et al. 2017), for research; see its publisher",
    "gtsrb": "GTSRB (Stallkamp et al. 2012), see its publisher",
}
_TERMS["digits-few"] = _TERMS["digits"]


def attribution(dataset: Dataset) -> str:
    """A line on a data set: its authors and terms; of a file of one's own, that they are its
    owner's."""
    known = _TERMS.get(dataset.name)
    return known or f"{dataset.title}: a file of the exporter's own, on its owner's terms"
