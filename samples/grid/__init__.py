"""The parts of the stand-in for Event Grid; `samples.event_grid` is the way in."""
