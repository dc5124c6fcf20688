"""The dream player: a trained CartPole agent as one web page."""
