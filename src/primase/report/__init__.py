"""What a run has come to, for a reader: report.html in the run, and the model card in its final/. Reads files only."""
