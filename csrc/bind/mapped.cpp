// Python's view of mapped files.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>

#include "stream/mapped_file.h"

namespace py = pybind11;

namespace m2m {

namespace {

std::unique_ptr<MappedFile> map_file(const std::string& path) {
  try {
    return std::make_unique<MappedFile>(path);
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
    throw py::error_already_set();
  }
}

}  // namespace

void register_mapped(py::module_& module) {
  py::class_<MappedFile>(module, "MappedFile", "A file's bytes where they lie; writing to them changes no file.",
                         py::buffer_protocol())
      .def(py::init(&map_file), py::arg("path"))
      .def("__len__", &MappedFile::size)
      .def_buffer([](MappedFile& self) {
        return py::buffer_info(static_cast<unsigned char*>(self.data()), static_cast<py::ssize_t>(self.size()));
      });
  module.def("take_lost_files", &take_lost_files);
}

}  // namespace m2m
