"""The flow of the data: fit, predict, save, load; what was learned is one frozen `FittedModel`."""
