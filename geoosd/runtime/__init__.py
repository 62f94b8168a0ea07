"""The one service runtime: every daemon's main is ``service.main(SPEC)``."""
