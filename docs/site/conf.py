"""Sphinx settings of the notebooks' site; `make html` builds it from stored outputs."""

project = "Effective and efficient diffusion"
author = "The authors of effective-diffusion"
extensions = ["myst_nb", "sphinx_design"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

myst_heading_slug_func = "tools.site.jupyter_anchor"
html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "home_page_in_toc": True}
html_extra_path = ["extra"]  # the page that generates images, if it was built
html_copy_source = False
suppress_warnings = ["mystnb.unknown_mime_type"]
