"""Compare optimizers on any network: runs that resume, an equal search, what the seeds can tell."""

from keras_lecture_opt.comparison._compare import compare, log_grid, process_pool
from keras_lecture_opt.comparison._differences import Difference, differences
from keras_lecture_opt.comparison._study import Study, load
from keras_lecture_opt.comparison._workload import Workload

__all__ = ["Difference", "Study", "Workload", "compare", "differences", "load"]
__all__ += ["log_grid", "process_pool"]
