"""What benchmarks and pretraining both need: networks, their measures, sets of regions."""
