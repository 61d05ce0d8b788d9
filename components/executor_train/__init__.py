"""The step that trains with a foreign executor: any image that keeps YMIR's training contract."""
