"""Models in use: how far data has drifted from the data of their training, and a log of what they were asked and answered."""
