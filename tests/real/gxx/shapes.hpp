// A class hierarchy with over-aligned members and throwing constructors.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct alignas(64) Matrix {
    double cell[16];
    Matrix operator*(const Matrix &other) const;
    static Matrix turned(double angle);
};

class Shape {
  public:
    explicit Shape(std::string name) : name_(std::move(name)) {}
    virtual ~Shape() = default;
    virtual double area() const = 0;
    const std::string &name() const { return name_; }
    Matrix place = Matrix::turned(0);

  private:
    std::string name_;
};

std::unique_ptr<Shape> make_shape(int seed);
std::vector<std::unique_ptr<Shape>> make_shapes(int count, int &refused);
