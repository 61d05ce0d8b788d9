"""Step 4: pack a trained model into a bento."""
