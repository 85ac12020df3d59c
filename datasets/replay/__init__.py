"""Whether recorded data come from a task: a sample is replayed against the task's rules.

The environments are exact, so genuine data obey in nearly all rows, and usual mistakes (another
range of actions, shifted rows, other rules) in few. May import environments, tasks' contracts and
`datasets.errors`. Start with `verdict`.
"""
