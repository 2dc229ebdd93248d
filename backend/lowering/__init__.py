"""What compiled backends share between a graph and their steps: views, clusters, expressions."""
