"""How `make app` serves the playground: alone, to this machine, and without a way to run code."""

c = get_config()  # noqa: F821  (Voila provides it)


def keep_the_playground(handler, notebook, cwd):  # noqa: ANN001, ANN201
    """Leave only the cells of the notebook that the playground needs."""
    notebook.cells = [cell for cell in notebook.cells if "app" in cell.metadata.get("tags", [])]
    return notebook


c.Voila.ip = "127.0.0.1"  # `make app APP_FLAGS=--Voila.ip=0.0.0.0` for a room full of people
c.Voila.open_browser = False
c.VoilaConfiguration.prelaunch_hook = keep_the_playground
c.VoilaConfiguration.strip_sources = True
c.VoilaConfiguration.show_tracebacks = False
c.MappingKernelManager.cull_idle_timeout = 600  # seconds until a kernel that was left is ended
c.MappingKernelManager.cull_interval = 60
