"""Whether recorded data come from a task: a sample is replayed against the task's rules.

The environments are exact. Genuine data obey in nearly all rows; data with a common mistake
(another range of actions, shifted rows, other rules) obey in few. May import environments, tasks
and `datasets.errors`. Start with `verdict`.
"""
