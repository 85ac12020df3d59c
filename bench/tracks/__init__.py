"""What is measured besides scores, one folder per track."""
