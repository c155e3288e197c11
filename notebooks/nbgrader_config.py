"""How nbgrader makes and grades the exercises; this folder is its course."""

c = get_config()  # noqa: F821 (nbgrader defines it)

# The exchange makes a folder of this name, which must not hide the module d2lmini.
c.CourseDirectory.course_id = "vgg"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.ClearSolutions.code_stub = {"python": "# your code here"}
c.Execute.timeout = 120  # seconds for a cell: the slowest trains for a few
c.OverwriteCells.add_missing_cells = True  # a check that a student deleted comes back
# nbgrader takes a line on stderr for a failure; the student has read "right".
c.IgnorePattern.enabled, c.IgnorePattern.pattern = True, ".*"
# exit() fails like other mistakes; IPython's own would end the kernel some cells later.
c.Execute.extra_arguments = ["--IPKernelApp.exec_lines=del exit, quit"]
c.Autograde.autograde_preprocessors = [  # nbgrader's own, with another first one
    "d2lmini.grading.ExecuteAll",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
