"""What the notebooks import: set-up, predictions and their answers, figures, diagrams, equations, exercises and
explorers. Nothing in the rest of the package depends on it."""
