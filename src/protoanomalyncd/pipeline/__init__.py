"""The flow of the data: fit, predict, save and load; everything that was learned is a `FittedModel`."""
