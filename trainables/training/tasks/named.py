"""Tasks by what a data set is of: the one place that decides."""

from search_spaces.spec import Kind
from trainables.training.tasks.classification import CLASSIFICATION
from trainables.training.tasks.instances import INSTANCES
from trainables.training.tasks.task import Task

TASKS: dict[Kind, Task] = {"labels": CLASSIFICATION, "instances": INSTANCES}
