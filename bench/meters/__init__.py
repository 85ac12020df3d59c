"""What a run costs: time accounts, memory, the machine, and cost numbers that repeat exactly."""
