"""The serving Deployment rolled to the champion, and back when it does not answer."""
