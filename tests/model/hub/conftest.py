from hub_models import hub, server

__all__ = ["hub", "server"]
