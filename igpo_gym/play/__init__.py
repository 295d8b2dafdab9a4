"""Episodes that a person plays, or watches, in a browser on this machine.

``igpo-gym play --web`` serves them. :mod:`igpo_gym.play.episodes` holds the episodes and says what the page
shows of each, :mod:`igpo_gym.play.server` is the server.
"""
