"""Compare optimizers on any network: runs that resume, an equal search, what the seeds can tell."""

from keras_lecture_opt.comparison._compare import compare, log_grid
from keras_lecture_opt.comparison._engine import process_pool
from keras_lecture_opt.comparison._study import Study
from keras_lecture_opt.comparison._workload import Workload

__all__ = ["Study", "Workload", "compare", "log_grid", "process_pool"]
