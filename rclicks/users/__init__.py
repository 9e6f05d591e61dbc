"""Who places the next interaction: the contract, the robot, boxes and recorded people."""
